"""The GPSR network (Zhu et al., Appl. Sci. 2023, 13, 833): `family` is numbers, all else needs torch and is imported by name."""
