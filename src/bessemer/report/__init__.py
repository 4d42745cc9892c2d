"""Evidence as JSON, as a terminal table and as one self-contained HTML file. Reports format; they never compute."""
