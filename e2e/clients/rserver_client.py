"""The R Server API through clients that a code generator makes of its descriptions. Arguments: what to do, and the address.

author  logs in, fits the documents' model in a session, and publishes it as a service
reader  calls that service with a client made of the service's own swagger.json
"""
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

do, address, user, password = sys.argv[1:5]


def ask(path, body=None, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = "Bearer " + token
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address + path, data, headers)) as answer:
        return json.load(answer)


def generate(path):
    """A client of the description at path, as a Python package."""
    token = ask("/login", {"username": user, "password": password})["access_token"]
    folder = tempfile.mkdtemp(dir=os.environ["NBSERV_CLIENT_DIR"])
    with open(os.path.join(folder, "swagger.json"), "w") as f:
        json.dump(ask(path, token=token), f)
    generator = os.path.join(os.path.dirname(sys.executable), "openapi-generator-cli")
    done = subprocess.run([generator, "generate", "-g", "python", "-i", "swagger.json", "-o", "out", "--package-name", "made"],
                          cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, os.path.join(folder, "out"))
    return importlib.import_module("made")


def log_in(made):
    config = made.Configuration(host=address)
    client = made.ApiClient(config)
    grant = made.AuthenticationApi(client).login(body=made.LoginRequest(username=user, password=password))
    assert grant.token_type == "Bearer" and grant.expires_in == 3600
    config.api_key["Bearer"], config.api_key_prefix["Bearer"] = grant.access_token, "Bearer"
    return client


def author():
    made = generate("/swagger.json")
    client = log_in(made)
    sessions, snapshots, services = made.SessionsApi(client), made.SnapshotsApi(client), made.ServicesApi(client)
    session = sessions.create_session(body=made.CreateSessionRequest(name="fit")).session_id
    code = """
model <- glm(formula = am ~ hp + wt, data = mtcars, family = binomial)
manualTransmission <- function(hp, wt) {
  newdata <- data.frame(hp = hp, wt = wt)
  predict(model, newdata, type = "response")
}
print(manualTransmission(120, 2.8))"""
    ran = sessions.execute_code(session, body=made.ExecuteRequest(code=code))
    assert ran.success and "0.6418125" in ran.console_output, ran
    assert sessions.list_workspace_objects(session) == ["manualTransmission", "model"]
    assert len(sessions.get_session_history(session)) == 3
    snapshot = sessions.create_snapshot(session, body=made.CreateSnapshotRequest(name="fitted")).snapshot_id
    assert [s.id for s in snapshots.list_snapshots()] == [snapshot]
    url = services.publish_web_service_version("transmission", "v1.0.0", body=made.PublishWebServiceRequest(
        snapshot_id=snapshot, code="answer <- manualTransmission(hp, wt)", operation_id="manualTransmission",
        input_parameter_definitions=[made.ParameterDefinition(name="hp", type="numeric"), made.ParameterDefinition(name="wt", type="numeric")],
        output_parameter_definitions=[made.ParameterDefinition(name="answer", type="numeric")]))
    assert url.endswith("/api/transmission/v1.0.0"), url
    snapshots.delete_snapshot(snapshot)
    sessions.close_session(session)
    assert made.StatusApi(client).get_status().status_code == "green"
    print("published", url)


def reader():
    made = generate("/api/transmission/v1.0.0/swagger.json")
    api = made.TransmissionApi(log_in(made))
    result = api.manual_transmission(body=made.InputParameters(hp=120, wt=2.8))
    assert result.success and abs(result.output_parameters.answer - 0.6418125) < 1e-7, result
    batch = api.start_batch_execution(body=[made.InputParameters(hp=h, wt=2.8) for h in (90, 120)]).batch_execution_id
    while api.get_batch_execution_status(batch).state != "complete":
        time.sleep(0.05)
    answers = [r.output_parameters.answer for r in api.get_batch_execution_status(batch).batch_execution_results]
    assert len(answers) == 2 and answers[1] == result.output_parameters.answer, answers
    api.cancel_and_delete_batch_execution(batch)
    api.api_client.configuration.api_key["Bearer"] = "x"
    try:
        api.manual_transmission(body=made.InputParameters(hp=120, wt=2.8))
        raise AssertionError("a wrong token was good")
    except made.exceptions.UnauthorizedException as e:
        assert json.loads(e.body)["exceptionType"] == "UnauthorizedException"
    print("answer", result.output_parameters.answer)


{"author": author, "reader": reader}[do]()
