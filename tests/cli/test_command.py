"""Command lines and docstrings as the commands read them."""

import pytest

from hsac.cli.command import described, sections, spread


@pytest.mark.parametrize(
    ("words", "repeated"),
    [
        ("--seeds 0 1 --index i", "--seeds 0 --seeds 1 --index i"),
        ("x --seeds 0 --seeds 1 2", "x --seeds 0 --seeds 1 --seeds 2"),
        ("--index i --seeds", "--index i --seeds "),
        ("--seeds=0 x", "--seeds=0 x"),
    ],
)
def test_options_take_several_values(words, repeated):
    assert spread(words.split(" "), ["--seeds"]) == repeated.split(" ")


def test_docstrings_are_split_at_sections():
    text = """Do this.

        More of it.

        Args:
            one: The first
                of two.
            two: The second.

        Examples:
            hsac do
        """
    parts = sections(text)
    assert list(parts) == ["", "Args", "Examples"]
    assert (parts[""], parts["Examples"]) == ("Do this.\n\nMore of it.", "hsac do")
    assert described(parts["Args"]) == {"one": "The first of two.", "two": "The second."}
