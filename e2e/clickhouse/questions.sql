-- Twenty questions of people who audit, in the SQL that the index (`vidimus audit sql`) and a ClickHouse (`--clickhouse`) both take. Each has one
-- answer whatever the order in which an engine reads.

-- How many records of each kind are there?
SELECT kind, count(*) AS records FROM records GROUP BY kind ORDER BY kind;

-- Who was refused most often?
SELECT principal, count(*) AS refused FROM records WHERE outcome = 'deny' GROUP BY principal ORDER BY refused DESC, principal;

-- Why was something refused?
SELECT code, count(*) AS refused, count(DISTINCT principal) AS principals FROM records WHERE outcome = 'deny' GROUP BY code ORDER BY code;

-- Which are the last ten decisions?
SELECT index, time, id, principal, resource, outcome, code FROM records WHERE kind = 'decision' ORDER BY index DESC LIMIT 10;

-- Which tools were called, and how did it end?
SELECT tool, outcome, count(*) AS calls FROM records WHERE kind = 'effect' AND tool IS NOT NULL GROUP BY tool, outcome ORDER BY tool, outcome;

-- What permitted a transfer?
SELECT index, principal, person, policies FROM records WHERE kind = 'decision' AND tool = 'transfer' AND outcome LIKE 'allow%' ORDER BY index;

-- How often did each policy's name decide?
SELECT sum(CASE WHEN policy_names LIKE '%finance/small-transfers%' THEN 1 ELSE 0 END) AS small_transfers,
  sum(CASE WHEN policy_names LIKE '%finance/finance-read%' THEN 1 ELSE 0 END) AS finance_read FROM records WHERE kind = 'decision';

-- On whose behalf was anything done?
SELECT person, principal, count(*) AS calls FROM records WHERE kind = 'decision' AND person IS NOT NULL GROUP BY person, principal
  ORDER BY calls DESC, person, principal;

-- What went through the server finance/ledger, byte by byte?
SELECT server, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out, max(bytes_out) AS largest FROM records WHERE kind = 'effect'
  GROUP BY server ORDER BY server;

-- How long did calls take?
SELECT tool, count(*) AS calls, min(latency_us) AS least, max(latency_us) AS most, CAST(avg(latency_us) AS BIGINT) AS middle FROM records
  WHERE kind = 'effect' GROUP BY tool ORDER BY calls DESC, tool;

-- What did models use?
SELECT model, sum(tokens_input) AS tokens_input, sum(tokens_output) AS tokens_output, sum(cost) AS cost FROM records WHERE model IS NOT NULL
  GROUP BY model ORDER BY model;

-- Which allowed calls have no end?
SELECT d.index AS index, d.id AS id FROM records AS d LEFT JOIN records AS e ON e.decision = d.index
  WHERE d.kind = 'decision' AND d.outcome LIKE 'allow%' AND e.index IS NULL ORDER BY index;

-- How long was it from each decision to its effect, for the first twenty?
SELECT d.index AS index, e.index AS effect, e.index - d.index AS apart FROM records AS d JOIN records AS e ON e.decision = d.index ORDER BY index LIMIT 20;

-- Which transactions have more than one decision?
SELECT transaction, count(*) AS decisions, max(depth) AS depth FROM records WHERE kind = 'decision' GROUP BY transaction HAVING count(*) > 1
  ORDER BY transaction;

-- Which configurations decided, and from when on?
SELECT configuration, min(index) AS first, max(index) AS last, count(*) AS decisions FROM records WHERE configuration IS NOT NULL
  AND kind = 'decision' GROUP BY configuration ORDER BY first;

-- What did people do?
SELECT index, person, code, subject, approval FROM records WHERE kind = 'act' ORDER BY index;

-- Who was called by nobody that is known?
SELECT index, identity, code, outcome FROM records WHERE kind = 'refusal' AND principal IS NULL ORDER BY index LIMIT 50;

-- What does the hour say?
SELECT date_trunc('hour', time) AS hour, kind, count(*) AS records FROM records GROUP BY date_trunc('hour', time), kind ORDER BY hour, kind;

-- The kept sums: who did how much in each hour?
SELECT what, hour, name, calls, allowed, held, denied, effects, ok, tokens_input, tokens_output, cost, latency_us FROM hours ORDER BY what, hour, name;

-- Which records mention a tool, word for word?
SELECT index, record FROM records WHERE record LIKE '%ledger/get_invoice%' ORDER BY index DESC LIMIT 25;
