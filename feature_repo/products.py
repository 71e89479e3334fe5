"""What requests about orders and about offers say of a product."""

from __future__ import annotations

from feature_repo.views import CATEGORY_UNIT, Feature

CATEGORY = Feature("category", CATEGORY_UNIT, "The product's category.")
