"""The nouns: study, experiment, method, cell, record, and the list of the work. No torch here."""
