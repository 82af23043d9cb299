-- Kept for another change.
SELECT 1;
