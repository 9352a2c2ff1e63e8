"""Studies, one file each: `rows(progress)` gives flat rows that become a CSV file and a figure."""
