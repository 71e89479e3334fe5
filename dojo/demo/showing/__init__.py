"""How the demo looks: data in, renderables out."""
