-- Counts how often receipts and stream were compared on another connection, or with another stream. What
-- a process has from the broker counts only as long as nobody has compared anew since its own comparison.
ALTER TABLE tail_guard ADD COLUMN epoch int8 NOT NULL DEFAULT 0;
