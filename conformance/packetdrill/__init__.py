"""Packetdrill's language: a script's text to a typed tree, with each fault at its line and column."""

from conformance.packetdrill.lexer import ScriptError
from conformance.packetdrill.script import parse, read
from conformance.packetdrill.syntax import Call, Code, Command, Event, Packet, Script, When

__all__ = ["Call", "Code", "Command", "Event", "Packet", "Script", "ScriptError", "When", "parse", "read"]
