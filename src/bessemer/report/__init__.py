"""Evidence as JSON, as a terminal table and as one HTML file. Reports format; they never compute."""
