"""Everything that learns is a rule: `init` makes its state, `update` moves it one step."""
