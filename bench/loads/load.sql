CREATE TABLE item (id INTEGER PRIMARY KEY, key INTEGER, text TEXT);
WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < 12000)
  INSERT INTO item SELECT i, i * 7919 % 10007, printf('value %d', i * 31 % 997) FROM number;
CREATE INDEX by_key ON item (key);
UPDATE item SET key = key + 1 WHERE id % 3 = 0;
DELETE FROM item WHERE id % 7 = 0;
CREATE TABLE summary AS
  SELECT key % 10 AS digit, count(*) AS items, max(text) AS last FROM item GROUP BY 1 ORDER BY 3 DESC;
INSERT INTO summary
  SELECT 10, count(*), max(a.text || b.text) FROM item AS a JOIN item AS b ON a.key = b.key WHERE b.id < 5000;
SELECT (SELECT count(*) || '|' || sum(key) || '|' || sum(length(text)) FROM item) || '|' ||
  (SELECT sum(items * (digit + 1)) || '|' || count(DISTINCT last) FROM summary);
