"""What a model that decides about people must keep to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from dojo.core.spec.section import Fraction, Name, Section, Text


class Fairness(Section):
    """How far apart the answers for any two groups may be. Each limit is a difference of shares.

    A difference beyond its limit counts when its interval lies above zero (spec.gate.confidence).

    Attributes:
        granted: Of all requests, the share that is not flagged.
        true_positive: Of the positives, the share that is flagged.
        false_positive: Of the negatives, the share that is flagged.
        minimum_rows: Rows behind a group's share. A group with fewer is not judged.
    """

    granted: Fraction
    true_positive: Fraction
    false_positive: Fraction
    minimum_rows: Annotated[int, Field(ge=1)]


class Regulated(Section):
    """The rules for a model whose flagged answers refuse something to a person.

    Attributes:
        protected: The attribute that must never be an input. It is a column of the label's events.
            Audits join it by the request.
        fairness: How far apart its groups may be.
        refusal: The beginning of the letter to a refused person.
        review: How the person asks for a review by a human.
        reasons: Feature -> the reason in the letter when the feature counted against the person.
    """

    protected: Name
    fairness: Fairness
    refusal: Text
    review: Text
    reasons: dict[Name, Text]

    @model_validator(mode="after")
    def _texts_keep_quiet(self) -> Regulated:
        """Refuse a text that names the protected attribute, also with spaces."""
        hidden = {self.protected, self.protected.replace("_", " ")}
        for where, text in {
            "refusal": self.refusal,
            "review": self.review,
            **{f"reasons.{name}": text for name, text in self.reasons.items()},
        }.items():
            if any(name in text.lower() for name in hidden):
                raise ValueError(f"{where} must not name the protected attribute {self.protected}")
        return self
