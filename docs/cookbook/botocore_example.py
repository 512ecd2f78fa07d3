import os
from pathlib import Path

from botocore.session import Session

from tokenkeeper import TokenKeeper

with TokenKeeper.from_env() as keeper:
    source = keeper.source("oauth2")
    path = Path("web-identity-token").resolve()  # in a directory that only this user can write to
    source.write_to(path, remove_on_close=True)
    os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(path)
    os.environ["AWS_ROLE_ARN"] = "arn:aws:iam::123456789012:role/reader"
    sts = Session().create_client("sts", region_name="eu-central-1")
    print(sts.get_caller_identity()["Arn"])
