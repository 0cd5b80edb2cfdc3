"""The live page for people: what it says (`view`), and the files a browser gets (`static`)."""
