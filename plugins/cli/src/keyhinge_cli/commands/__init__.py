"""The commands, one module for each group of them; a module is imported when it is needed."""
