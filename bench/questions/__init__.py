"""One file per question: ``ask(bench)`` measures and answers."""
