"""Recommendation: which columns say who did what when, and how the next item is learnt and ranked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from sensorium.recipe.part import ColumnType, Part


class EntityTable(Part):
    """A table of items or users, one row each."""

    source: str = Field(description="a file; paths of pictures and sounds are resolved beside it")
    key: str | None = Field(None, description="column with the id; the interactions' own column name by default")
    inputs: dict[str, ColumnType] | None = Field(None, description="column: type; inferred where absent")


class KnowledgeTable(Part):
    """A knowledge graph as a table of triples and a table that says which entity an item is."""

    triples: str = Field(description="a file with columns head, relation, tail (or its first three)")
    links: str | None = Field(None, description="a file of item, entity; without it items are entities by their own id")


class InteractionSplitRecipe(Part):
    """What training may see."""

    kind: Literal["leave_one_out", "by_time", "cold_items"] = Field(
        "leave_one_out",
        description="last item of each user tests, second last validates; or the newest share of all; or a share of items",
    )
    validation: float = Field(0.1, gt=0, lt=1, description="by_time: share of interactions; cold_items: of items")
    test: float = Field(0.1, gt=0, lt=1, description="by_time: share of interactions; cold_items: of items")
    seed: int = Field(0, ge=0, description="cold_items: which items")

    @model_validator(mode="after")
    def _check(self) -> InteractionSplitRecipe:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on; make their sum less than 1")
        return self


class InteractionsRecipe(Part):
    """Columns of the table ``data.source`` and the tables beside it; a bundled data set knows its own."""

    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    rating: str | None = None
    review: str | None = None
    rating_range: tuple[float, float] | None = Field(None, description="ratings outside are set aside")
    items: EntityTable | None = None
    users: EntityTable | None = None
    knowledge: KnowledgeTable | None = None
    k_core: int = Field(0, ge=0, description="keep users and items with at least so many interactions; 0: all")
    split: InteractionSplitRecipe = Field(default_factory=InteractionSplitRecipe)


class RuleRecipe(Part):
    """A logic rule over attributes: items for which ``item`` holds are kept from users for whom ``user`` holds.

    Both map a column to a value, or to a list of values of which one must stand there (a word, in a text column).
    """

    item: dict[str, Any]
    user: dict[str, Any] = Field(default_factory=dict, description="for whom; empty: for all")
    history: dict[str, Any] = Field(default_factory=dict, description="only where an item of the history is so")
    penalty: float | Literal["never"] = Field("never", description="taken off the score, or never recommended")


class RecommenderRecipe(Part):
    """The model that ranks, its losses and its answers."""

    backbone: str = Field(
        "small", description="small: a GPT from scratch; or a pretrained GPT by name, tuned by model.adapt"
    )
    width: int = Field(64, ge=8, le=4096, description="of item and user vectors")
    layers: int = Field(2, ge=1, le=48, description="small: layers")
    heads: int = Field(2, ge=1, description="small: heads")
    history: int = Field(200, ge=1, le=4096, description="most interactions of a user that are read, the latest")
    dropout: float = Field(0.3, ge=0, lt=1)
    identity: bool = Field(True, description="items have a vector of their own")
    identity_dropout: float = Field(
        0.1, ge=0, lt=1, description="chance that an item's own vector is withheld in training"
    )
    item_inputs: list[str] | None = Field(None, description="columns of the item table that are used; all by default")
    user_inputs: list[str] | None = Field(None, description="columns of the user table that are used; all by default")
    gaps: bool = Field(True, description="read the time between interactions")
    ratings: bool = Field(True, description="read ratings")
    reviews: bool = Field(True, description="read reviews, of what a user met before, where the data name a column")
    loss: Literal["full", "sampled"] = Field("full", description="softmax over all items, or over sampled ones")
    negatives: int = Field(1024, ge=1, description="sampled: items drawn a batch")
    transitions: Literal["auto", "always", "never"] = Field(
        "auto", description="what follows what, in closed form, beside the GPT; auto: up to 10,000 items"
    )
    knowledge: Literal["none", "transe", "distmult"] = "none"
    knowledge_weight: float = Field(0.1, ge=0, description="of the triples' loss")
    rules: list[RuleRecipe] = Field(default_factory=list)
    exclude_seen: bool = Field(False, description="never recommend what the user's history holds")

    @model_validator(mode="after")
    def _check(self) -> RecommenderRecipe:
        if self.width % self.heads:
            raise ValueError("recommender.width must be a multiple of recommender.heads; change one")
        if not self.identity and self.item_inputs == [] and self.knowledge == "none":
            raise ValueError("items have neither identity nor inputs; keep one")
        return self
