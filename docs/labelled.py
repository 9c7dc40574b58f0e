"""``python docs/labelled.py`` draws the README's labelled puzzle, ``docs/puzzle.png``."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.render import render
from genraven.puzzles.spec import RULE_ID

CELL, LEFT, TOP, RIGHT = 22, 150, 44, 250
INK, ALERT = (40, 40, 40), (178, 34, 34)
SHAPES = ("stars", "squares", "stars")
"""What the rows of this puzzle hold."""


def labelled_puzzle() -> Image.Image:
    """A puzzle with the names of its parts and what its rule says of each row."""
    puzzle = generate(RULE_ID["shape.constant"], 0, 1)[0]
    drawn = render(puzzle, cell=CELL, marked=last_panel_mask(1)[0])
    width, height = LEFT + drawn.width + RIGHT, TOP + drawn.height + 36
    picture, font = Image.new("RGB", (width, height), (255, 255, 255)), ImageFont.load_default(15)
    picture.paste(drawn, (LEFT, TOP))
    draw = ImageDraw.Draw(picture)
    step, right = drawn.height / 3, LEFT + drawn.width
    for row, shape in enumerate(SHAPES):
        middle = TOP + (row + 0.5) * step
        draw.text((LEFT - 14, middle), f"row {row + 1}: {shape}", INK, font, anchor="rm")
    third = drawn.width / 3
    draw.line((LEFT + 2, TOP - 8, LEFT + third - 8, TOP - 8), INK, 2)
    draw.text((LEFT + third / 2, TOP - 14), "panel", INK, font, anchor="ms")
    draw.line((right + 4, TOP + CELL / 2, right + 24, TOP + CELL / 2), INK, 2)
    draw.text((right + 30, TOP + CELL / 2), "cell: empty, or one object", INK, font, anchor="lm")
    last = TOP + 2.5 * step
    draw.line((right + 4, last, right + 24, last), ALERT, 2)
    draw.text((right + 30, last), "completion: the model\nwrites this panel", ALERT, font, anchor="lm")
    rule = "rule shape.constant: one shape in each row"
    draw.text((LEFT + drawn.width / 2, TOP + drawn.height + 18), rule, INK, font, anchor="mm")
    return picture


if __name__ == "__main__":
    labelled_puzzle().save(Path(__file__).parent / "puzzle.png")
