"""The methods that give calibration images, and the encoders, with their titles."""

METHODS = {
    "real": "real images",
    "gaussian": "Gaussian noise",
    "bns": "BNS",
    "pse": "PSE",
    "pgsi": "PGSI",
    "pgsi_scg": "PGSI + SCG",
    "pgsi_pae": "PGSI + PAE",
    "d4c": "D4C",
    "d4c_clipped": "D4C, clipped",
}
ABLATION = ("pgsi", "pgsi_scg", "pgsi_pae", "d4c")  # rows: SCG and PAE off, on, and both
ENCODERS = {"resnet": "ResNet", "vit": "ViT"}  # by the image tower
