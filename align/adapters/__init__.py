"""One file a foreign system; a missing package becomes the line that installs it."""
