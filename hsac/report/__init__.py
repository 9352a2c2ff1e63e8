"""The report floor: run records in; gathered table, statistics, claims, tables, figures and page
out. No torch here.
"""
