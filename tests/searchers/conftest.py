"""The networks and tables that tests of several methods share lie beside this file."""
