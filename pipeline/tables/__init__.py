"""The tables of the method, each by one command: protect in a work folder, measure the files, write CSV, page and plot."""
