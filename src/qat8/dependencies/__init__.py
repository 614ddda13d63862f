"""What qat8 is built upon: the locks, their known vulnerabilities, their licences; for a checkout, not for images.

locks        which locks there are, what they pin, making them anew
advisories   pip-audit's findings, and which of them are accepted
licences     pip-licenses' findings as a page, and which licences are allowed
policy       what pyproject.toml says about both
"""
