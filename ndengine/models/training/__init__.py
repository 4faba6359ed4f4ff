"""How the small networks of this package learn from drawn scenes: pictures, lessons and one loop for all."""
