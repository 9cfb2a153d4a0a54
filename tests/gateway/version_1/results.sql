CREATE TABLE IF NOT EXISTS dwells (dwell TEXT NOT NULL, visit TEXT NOT NULL, tag TEXT NOT NULL, layer TEXT NOT NULL, zone TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, dwell_s REAL, sigma_s REAL, confidence REAL, readings INTEGER NOT NULL, PRIMARY KEY (dwell));
CREATE INDEX IF NOT EXISTS dwells_by_time ON dwells (start_ns);
CREATE TABLE IF NOT EXISTS visits (visit TEXT NOT NULL, tag TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, visit_s REAL, zones INTEGER NOT NULL, path TEXT NOT NULL, path_length_m REAL, directness REAL, hesitations INTEGER NOT NULL, taps INTEGER NOT NULL, shelf_s REAL, picks INTEGER NOT NULL, returns INTEGER NOT NULL, purpose TEXT NOT NULL, purpose_p REAL, PRIMARY KEY (visit));
CREATE INDEX IF NOT EXISTS visits_by_time ON visits (start_ns);
CREATE TABLE IF NOT EXISTS shelf_events (event TEXT NOT NULL, t_ns INTEGER NOT NULL, shelf TEXT NOT NULL, sensor TEXT NOT NULL, gtin TEXT, kind TEXT NOT NULL, status TEXT NOT NULL, quantity INTEGER NOT NULL, delta_g REAL, confidence REAL, tag TEXT, tag_p REAL, PRIMARY KEY (event));
CREATE INDEX IF NOT EXISTS shelf_events_by_time ON shelf_events (t_ns);
CREATE TABLE IF NOT EXISTS shelf_stock (t_ns INTEGER NOT NULL, shelf TEXT NOT NULL, gtin TEXT NOT NULL, quantity INTEGER NOT NULL, sigma REAL, mass_g REAL, state TEXT NOT NULL, PRIMARY KEY (t_ns, shelf, gtin));
CREATE INDEX IF NOT EXISTS shelf_stock_by_time ON shelf_stock (t_ns);
CREATE TABLE IF NOT EXISTS sensor_health (sensor TEXT NOT NULL, state TEXT NOT NULL, since_ns INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (sensor, since_ns));
CREATE INDEX IF NOT EXISTS sensor_health_by_time ON sensor_health (since_ns);
CREATE TABLE IF NOT EXISTS occupancy (t_ns INTEGER NOT NULL, layer TEXT NOT NULL, zone TEXT NOT NULL, people INTEGER NOT NULL, PRIMARY KEY (t_ns, layer, zone));
CREATE INDEX IF NOT EXISTS occupancy_by_time ON occupancy (t_ns);
CREATE TABLE IF NOT EXISTS queues (t_ns INTEGER NOT NULL, zone TEXT NOT NULL, length INTEGER NOT NULL, wait_p50_s REAL, wait_p90_s REAL, abandoned INTEGER NOT NULL, PRIMARY KEY (t_ns, zone));
CREATE INDEX IF NOT EXISTS queues_by_time ON queues (t_ns);
CREATE TABLE IF NOT EXISTS occupancy_estimates (t_ns INTEGER NOT NULL, layer TEXT NOT NULL, zone TEXT NOT NULL, tagged REAL, tagged_sigma REAL, people REAL, people_sigma REAL, PRIMARY KEY (t_ns, layer, zone));
CREATE INDEX IF NOT EXISTS occupancy_estimates_by_time ON occupancy_estimates (t_ns);
CREATE TABLE IF NOT EXISTS heat (t_ns INTEGER NOT NULL, floor TEXT NOT NULL, x_m REAL, y_m REAL, person_s REAL, PRIMARY KEY (t_ns, floor, x_m, y_m));
CREATE INDEX IF NOT EXISTS heat_by_time ON heat (t_ns);
CREATE TABLE IF NOT EXISTS receiver_health (receiver TEXT NOT NULL, state TEXT NOT NULL, since_ns INTEGER NOT NULL, offset_db REAL, reason TEXT NOT NULL, PRIMARY KEY (receiver, since_ns));
CREATE INDEX IF NOT EXISTS receiver_health_by_time ON receiver_health (since_ns);
DROP TABLE IF EXISTS positions;
CREATE TABLE IF NOT EXISTS trail (
    t_ns INTEGER NOT NULL, tag TEXT NOT NULL, zone INTEGER NOT NULL, floor TEXT NOT NULL,
    x_m REAL NOT NULL, y_m REAL NOT NULL, PRIMARY KEY (t_ns, tag)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT, journal_id INTEGER NOT NULL,
    watermark_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outgoing_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outgoing_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT, line_count INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT, line BLOB NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS dwells_by_visit ON dwells (visit, layer, start_ns);
CREATE INDEX IF NOT EXISTS visits_by_tag ON visits (tag, start_ns);
