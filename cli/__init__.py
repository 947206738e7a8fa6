"""Commands: parse, call, render, map exit codes."""
