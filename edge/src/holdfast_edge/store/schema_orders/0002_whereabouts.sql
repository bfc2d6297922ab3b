-- At which source of device data a device was seen, and whether that carries commands to it.
CREATE TABLE whereabouts (
    device TEXT PRIMARY KEY,
    source TEXT NOT NULL, -- key of the DeviceSource; 'devices' is the site's own broker
    able INTEGER NOT NULL
) WITHOUT ROWID;
