"""The limit: one C program that makes the same pod with nothing but the system calls (limit.c)."""
