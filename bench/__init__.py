"""The benchmarks behind ``./dev bench``; README.md has the method."""
