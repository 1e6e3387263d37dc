"""Reports of what was run: numbers computed once, shown in the terminal and on a page."""
