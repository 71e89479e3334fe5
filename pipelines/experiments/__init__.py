"""The results of a split of the traffic (D11).

`assignment` reads each entity's arm and the results, and `report` judges them.
"""
