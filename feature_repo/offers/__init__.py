"""The features of offers: what a product sold, and at which prices.

`views` holds the sources, the stored features and the request, `offer_days` computes the stored
ones. They join the catalogue where DOJO_MODELS names the model here.
"""

from __future__ import annotations

from feature_repo.offers.views import OFFER, OWNER, PRODUCT_OFFERS
from feature_repo.services import FeatureService

VIEWS = (PRODUCT_OFFERS,)

SERVICES = (
    FeatureService(
        name="demand_v1",
        model="demand",
        owner=OWNER,
        features=(*PRODUCT_OFFERS.names, *(feature.name for feature in OFFER.features)),
        request=OFFER,
    ),
)
