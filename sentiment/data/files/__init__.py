"""Files of reviews: which ones are read, and how. A row takes these forms on its way to a batch:

| form | where | made by |
|---|---|---|
| bytes | the file | |
| line of text; of Parquet, a batch | `TextStream` | `compression.open_text` |
| list or mapping of cells | | `delimited.parse_rows`, `formats` |
| checked cells, by column | `Rows`, a chunk of at most `CHUNK_SIZE` rows | `rows.read_rows` |
| row of an Arrow table | a file in the cache, memory-mapped | `tables.load_table` |
| text with the number of its class | `Corpus` | `corpus.make_corpus` |
| ids | files in the cache, memory-mapped | `sentiment.data.encoded` |
"""
