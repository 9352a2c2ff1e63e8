"""The report: from run records to gathered tables, statistics, claims, tables, figures and page.

Nothing here imports torch.
"""
