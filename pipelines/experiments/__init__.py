"""What a split of the traffic showed (D11): `assignment` reads who got which arm and what came of it, `report` judges it."""
