import requests
from simple_salesforce import Salesforce

from tokenkeeper import TokenKeeper


def salesforce(source):
    token = source.token()
    session = requests.Session()
    session.auth = source.auth(timeout=20)  # replaces the header that the client sets
    return Salesforce(
        instance_url=token.extra["instance_url"], session_id=token.access_token, session=session
    )


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        found = salesforce(keeper.source("oauth2")).query("SELECT Name FROM Account")
        print([record["Name"] for record in found["records"]])
