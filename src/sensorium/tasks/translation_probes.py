"""Does the picture help? The probing protocol of Caglayan et al. 2019: hide words of the source, change the picture.

Words are hidden that a picture can tell: colours, nouns, half of all words, everything. Each disguise is translated with
the right picture, with another concept's, and with none; what the right one is worth beyond a wrong one is what the model
sees, and beyond none what looking is worth at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import DataError
from sensorium.tasks.hidden_words import bare, hide_all, hide_share, hide_words

HIDDEN = ("nothing", "colours", "nouns", "half", "everything")
PICTURES = ("right", "wrong", "none")
HALF = 0.5
SMALL_FIRST = 0.05  # share of texts that begin with a small letter, above which first words are written like others
LEAST = 20  # sentences in which something is hidden, below which a disguise is left out

# The basic colour terms (Berlin and Kay 1969) and blond, in the forms that stand in captions and names.
COLOURS: dict[str, str] = {
    "en": "black white grey gray red green blue yellow orange purple pink brown blond blonde golden silver tan",
    "de": "schwarz schwarze schwarzer schwarzes schwarzen schwarzem weiß weiße weißer weißes weißen weißem grau graue "
    "grauer graues grauen grauem rot rote roter rotes roten rotem grün grüne grüner grünes grünen grünem blau blaue blauer "
    "blaues blauen blauem gelb gelbe gelber gelbes gelben gelbem orange orangefarbene orangefarbenen orangener orangenen "
    "lila violett violette violetten rosa pink braun braune brauner braunes braunen braunem blond blonde blonder blonden",
    "fr": "noir noire noirs noires blanc blanche blancs blanches gris grise grises rouge rouges vert verte verts vertes bleu "
    "bleue bleus bleues jaune jaunes orange oranges violet violette violets violettes rose roses marron brun brune bruns "
    "brunes blond blonde blonds blondes doré dorée",
    "es": "negro negra negros negras blanco blanca blancos blancas gris grises rojo roja rojos rojas verde verdes azul azules "
    "amarillo amarilla amarillos amarillas naranja naranjas morado morada morados moradas rosa rosas marrón marrones rubio rubia",
    "it": "nero nera neri nere bianco bianca bianchi bianche grigio grigia grigi grigie rosso rossa rossi rosse verde verdi "
    "blu azzurro azzurra giallo gialla gialli gialle arancione arancioni viola rosa marrone marroni biondo bionda",
    "nl": "zwart zwarte wit witte grijs grijze rood rode groen groene blauw blauwe geel gele oranje paars paarse roze bruin "
    "bruine blond blonde",
    "pt": "preto preta pretos pretas branco branca brancos brancas cinza cinzento cinzenta vermelho vermelha vermelhos "
    "vermelhas verde verdes azul azuis amarelo amarela amarelos amarelas laranja roxo roxa rosa marrom castanho loiro loira",
}


@dataclass(frozen=True)
class Disguise:
    """Sources with something hidden.

    Attributes:
        rows: (m,) places of the sentences in which something is hidden; all of them where nothing is meant to be.
        sources: m texts.
    """

    rows: np.ndarray
    sources: Sequence[str]


@dataclass(frozen=True)
class Probed:
    """What was translated under each disguise: hidden -> rows, and picture -> m translations; ``left_out`` says why."""

    rows: Mapping[str, np.ndarray]
    said: Mapping[str, Mapping[str, Sequence[str]]]
    left_out: Sequence[str] = field(default_factory=list)


def disguises(
    sources: Sequence[str], languages: Sequence[str], nouns: Mapping[str, Sequence[str]], seed: int = 0
) -> tuple[dict[str, Disguise], list[str]]:
    """Every disguise that hides something in at least ``LEAST`` sentences, and sentences about those left out.

    Args:
        sources: n texts; languages: n tags of what they are written in.
        nouns: tag -> words that count as nouns.
    """
    found: dict[str, Disguise] = {}
    left_out = []
    for hidden in HIDDEN:
        texts = [_hidden(hidden, text, tag, nouns, [seed, i]) for i, (text, tag) in enumerate(zip(sources, languages))]
        changed = [i for i, (text, source) in enumerate(zip(texts, sources)) if hidden == "nothing" or text != source]
        if len(changed) >= min(LEAST, len(sources)) and changed:
            found[hidden] = Disguise(np.array(changed, dtype=np.int64), [texts[i] for i in changed])
        else:
            left_out.append(f"{hidden} hidden: left out, as only {len(changed)} of {len(sources):,} sources have any.")
    return found, left_out


def probe(
    translate: Callable[[Sequence[str], np.ndarray, np.ndarray | None], Sequence[str]],
    sources: Sequence[str],
    languages: Sequence[str],
    concepts: Sequence[Any],
    nouns: Mapping[str, Sequence[str]],
    seed: int = 0,
) -> Probed:
    """Translate every disguise with every kind of picture.

    Args:
        translate: (m sources, (m,) rows they are of, (m,) rows whose picture is shown, or None for none) -> m texts.
        sources, languages, concepts: of n sentences; a wrong picture is of another concept.
        nouns: as of ``disguises``.

    Raises:
        DataError: there are too few concepts for a wrong picture each.
    """
    chosen, left_out = disguises(sources, languages, nouns, seed)
    wrong = other_concepts(concepts, seed)
    said = {
        hidden: {
            "right": translate(one.sources, one.rows, one.rows),
            "wrong": translate(one.sources, one.rows, wrong[one.rows]),
            "none": translate(one.sources, one.rows, None),
        }
        for hidden, one in chosen.items()
    }
    return Probed({hidden: one.rows for hidden, one in chosen.items()}, said, left_out)


def other_concepts(concepts: Sequence[Any], seed: int = 0) -> np.ndarray:
    """(n,) a row of another concept for each row, each used once, drawn by ``seed``.

    Raises:
        DataError: one concept has more than half of the rows, so that there are not enough others.
    """
    numbers: dict[Any, int] = {}
    of = np.array([numbers.setdefault(concept, len(numbers)) for concept in concepts], dtype=np.int64)
    largest = int(np.bincount(of).max()) if len(of) else 0
    if 2 * largest > len(of) or not largest:
        raise DataError("too few concepts to show a wrong picture", mend="probe on more rows")
    rng = np.random.default_rng([seed, 3])
    # Concepts stand together in a drawn order; a step as long as the largest of them always leaves a concept.
    order = np.lexsort((rng.permutation(len(of)), rng.permutation(len(numbers))[of]))
    found = np.empty(len(of), dtype=np.int64)
    found[order] = np.roll(order, -largest)
    return found


def german_nouns(texts: Sequence[str]) -> set[str]:
    """Words that German texts write with a capital, as German writes its nouns; lower-cased.

    A text's first word says so only where texts need not begin with a capital, as names do not.
    """
    lines = [[word for word in map(bare, text.split()) if word] for text in texts]
    lines = [line for line in lines if line]
    small = sum(line[0][0].islower() for line in lines) > SMALL_FIRST * len(lines)
    words = (word for line in lines for word in line[0 if small else 1 :])
    return {word.lower() for word in words if word[0].isupper() and not word.isupper()}


def _hidden(hidden: str, text: str, tag: str, nouns: Mapping[str, Sequence[str]], seed: list[int]) -> str:
    if hidden == "nothing":
        return text
    if hidden == "everything":
        return hide_all(text)
    if hidden == "half":
        return hide_share(text, HALF, np.random.default_rng([*seed, 5])) if len(text.split()) > 1 else text
    words = COLOURS.get(tag.split("-")[0], "").split() if hidden == "colours" else nouns.get(tag, ())
    return hide_words(text, words)
