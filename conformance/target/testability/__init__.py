"""AUTOSAR's Testability Protocol 1.2.0: hosts whose application is driven through the upper tester that they bring along."""
