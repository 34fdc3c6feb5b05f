"""Files to nouns and back: pictures, video, logs, tables, annotations."""
