import os

from elastic_transport import Urllib3HttpNode
from elasticsearch import Elasticsearch

from tokenkeeper import TokenKeeper


def client(source):
    class Node(Urllib3HttpNode):
        def perform_request(self, *args, headers=None, **options):
            def send(token):
                sent = {**(headers or {}), "authorization": f"Bearer {token}"}
                return super(Node, self).perform_request(*args, headers=sent, **options)

            token = source()
            answer = send(token)
            if answer.meta.status == 401:
                answer = send(source.renew_refused(token))
            return answer

    return Elasticsearch(os.environ["ELASTICSEARCH_URL"], node_class=Node)


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper, client(keeper.source("oauth2")) as search:
        print(search.info()["cluster_name"])
