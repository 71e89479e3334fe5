"""Who answers a request: the route, its arms and the shadows."""
