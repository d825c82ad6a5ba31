"""Ways to ask, for ``emoji-dialogue``: those of training, and those that are kept for testing; what edits are called."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = "You answer questions about images."


@dataclass(frozen=True)
class Phrases:
    """Ways to ask one thing. No test phrase is a training phrase."""

    train: tuple[str, ...]
    test: tuple[str, ...]


# Questions that stand alone, by what is asked about.
ASKED = {
    "group": Phrases(
        (
            "Which class does this image belong to?",
            "What is the class of this image?",
            "Which class is this?",
            "Tell me the class of the image.",
            "In which class is this image?",
            "Which class would you choose for it?",
        ),
        (
            "Do you know the class of this image?",
            "Please tell me which class this image is in.",
            "I would like to know the class of it.",
        ),
    ),
    "subgroup": Phrases(
        (
            "Which type of thing is this?",
            "What type is it?",
            "Tell me the type of this image.",
            "Which type does this image show?",
            "What kind of thing is in the image?",
            "Which kind is it?",
        ),
        (
            "Do you know what type of thing this is?",
            "Please tell me the kind of thing in this image.",
            "I would like to know which type it is.",
        ),
    ),
    "name": Phrases(
        (
            "What is the title of this image?",
            "Give me the title of this image.",
            "What title does the image have?",
            "Which title is right for it?",
        ),
        ("Do you know the title of this image?", "Please tell me the title."),
    ),
    "tag": Phrases(
        (
            "Does the word {tag} describe this image?",
            "Is {tag} a good word for this image?",
            "Would you use the word {tag} for it?",
        ),
        ("Do you think that the word {tag} describes the image?", "Can we use the word {tag} for this image?"),
    ),
    "same_class": Phrases(
        (
            "Are these two images in the same class?",
            "Do both images have the same class?",
            "Is the class of both images the same?",
        ),
        (
            "Do you think both of these images are in the same class?",
            "Can you tell me if the two images share a class?",
        ),
    ),
}

# Questions that only the turns before them make plain.
FOLLOW_UPS = {
    "its_type": Phrases(
        ("And which type is it?", "And what is the type of it?", "Which type exactly?", "And the type?"),
        ("And can you tell me the type as well?", "And do you know which type?"),
    ),
    "its_class": Phrases(
        ("And which class is it in?", "And what is the class of it?", "Which class exactly?", "And the class?"),
        ("And can you tell me the class as well?", "And do you know which class?"),
    ),
    "this_one": Phrases(
        (
            "And this one?",
            "And what about this one?",
            "What about this image?",
            "The same question for this image, please.",
        ),
        ("And how about this one here?", "Now answer the same for this image."),
    ),
    "as_before": Phrases(
        (
            "Is this in the same class as the image before?",
            "Does this image have the same class as the last one?",
            "Is the class the same as before?",
        ),
        (
            "Do you think this one is in the same class as the last image?",
            "Is this still the same class as the image before?",
        ),
    ),
    "first_image": Phrases(
        (
            "Which class did the first image have?",
            "What was the class of the first image?",
            "And the class of the first image again?",
        ),
        ("Can you tell me the class of the first image again?", "Do you remember the class of the first image?"),
    ),
}

# What is asked of an editor (``emoji-draw``), by what changes and what it becomes.
_SKIN = ("give them {} skin", "make the skin {}", "change the skin tone to {}", "{} skin tone")
EDITS: dict[str, dict[str, tuple[str, ...]]] = {
    "skin_tone": {
        "": ("make the skin yellow", "give them yellow skin", "take the skin tone away", "no skin tone"),
        **{
            tone: tuple(said.format(tone) for said in _SKIN)
            for tone in ("light", "medium-light", "medium", "medium-dark", "dark")
        },
    },
    "gender": {
        "": ("make it a person", "neither a man nor a woman", "make them gender-neutral"),
        "male": ("make it a man", "turn them into a man", "as a man"),
        "female": ("make it a woman", "turn them into a woman", "as a woman"),
    },
    "direction": {
        "": ("make it face left", "turn it to the left"),
        "right": ("make it face right", "turn it to the right"),
    },
}
