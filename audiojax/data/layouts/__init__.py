"""The data sets that people have on disk, whatever shape they lie in: `read_dataset` finds the layout and lists the clips."""
