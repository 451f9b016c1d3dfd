"""What a finished run shows: a self-contained HTML page, spectrogram pictures and console tables.

`html.write_report` lays out the sections of `sections`; `pictures` and `curves` draw; `tables` prints the same numbers in a
terminal and writes them to CSV and JSON files.
"""
