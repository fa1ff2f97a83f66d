"""The world that the built-in model draws: objects of one look, by count, size and place, in lands or on plain grounds.

A scene is drawn at random (`random_scenes`), put into words (`captions`) and painted (`scenes`): its objects are cut
from icon sets (`material`, `looks`), its ground is drawn by formula (`grounds`). Everything is measured in cells, one
for each token of a 24 x 24 grid, so that a scene is the same at any resolution and an object meets the token grid
alike wherever it stands.
"""
