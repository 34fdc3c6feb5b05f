"""How real rendered pictures look: classifiers that try to tell their patches from real ones."""
