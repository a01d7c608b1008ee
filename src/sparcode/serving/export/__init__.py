"""Export: a trained network becomes a bundle. The only part of serving that knows networks and data sets."""
