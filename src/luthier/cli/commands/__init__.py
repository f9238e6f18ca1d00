"""Commands, a file a stage; each file is loaded when its command is used."""
